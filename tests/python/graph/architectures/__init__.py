"""Small models of many architectures, each with one batch: what counts are checked on."""

from architectures.convolutional import CONVOLUTIONAL
from architectures.decoders import DECODERS
from architectures.encoders import ENCODERS
from architectures.entry import Architecture
from architectures.other import OTHER
from architectures.sequence import SEQUENCE
from architectures.vision import VISION

__all__ = ["ARCHITECTURES", "Architecture"]

ARCHITECTURES: dict[str, Architecture] = {
    **DECODERS,
    **ENCODERS,
    **VISION,
    **CONVOLUTIONAL,
    **SEQUENCE,
    **OTHER,
}
