#pragma once

#include <string>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// The graph of a MODEL argument, as every command takes it. Accepted now: .pt2 and .onnx files, a
/// TensorFlow SavedModel's directory ("directory:signature") or .pb file, a StableHLO text (.mlir,
/// .stablehlo, .txt), a Hugging Face config.json, a Graph document, and an inline
/// "transformer:layers=32,...". Anything else is an InputError that says what it looks like, what
/// is accepted, and the way there; "file.py:factory" must be captured by Python first. Throws
/// SystemError when the file is not there.
Graph load_model(const std::string& spec);

/// Does the argument name a factory in a Python file ("train.py:build_model")? Then a caller may
/// run `python -m parallel_opt.capture SPEC -o FILE` and load FILE.
bool is_python_factory(const std::string& spec);

}  // namespace parallel_opt
