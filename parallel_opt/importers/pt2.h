#pragma once

#include <map>
#include <string>
#include <string_view>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// Alias -> the parameter or buffer it is tied to, by the module's own names:
/// {"head.weight": "embedding.weight"}.
using Ties = std::map<std::string, std::string>;

/// Reads an archive of torch.export.save: those of PyTorch 2.8 and later (`models/*.json`) and of
/// 2.4-2.7 (`serialized_exported_program.json`), schema 5 to 8. Weights are never read. The graph
/// is the forward as exported: in-place operators and views stay and share storage by `alias_of`;
/// symbolic sizes keep their expressions; what could not be expressed is in `notes`.
///
/// Tied parameters: `ties`, else the member extra/parallel_opt.json, else equal payload, sizes,
/// strides and offset in the weights' table. They are merged: all operators use the first name of
/// the model's order, the others keep `tied_to`.
///
/// extra/parallel_opt.json is what our capture adds: {"name": "GPT", "ties": {...}, "symbols":
/// {"s77": "batch"}, "notes": [...]}; every member may be absent.
///
/// `name` starts the place of every fault ("model.pt2:graph.nodes[17].inputs[0]"). Throws
/// InputError with up to 20 faults.
Graph read_pt2(std::string_view archive, const std::string& name, const Ties& ties = {});

/// The same from a file, of which only the graph is read. Throws SystemError when it cannot be
/// opened.
Graph load_pt2(const std::string& path, const Ties& ties = {});

}  // namespace parallel_opt
