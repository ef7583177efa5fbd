#pragma once

#include <string>
#include <string_view>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// The graph of an ONNX model (operator sets 13 and later; older ones as far as they mean the
/// same). Operators become those of PyTorch where the table has an equal one, shapes are inferred
/// here, control flow becomes regions; weights are never read beyond what shapes depend on. A
/// damaged file is one InputError with up to 20 faults, "model.onnx:graph.node[17]: ...". Throws
/// SystemError when the file cannot be opened.
Graph load_onnx(const std::string& path);

/// The same from memory. `name`: what errors call it; `directory`: where weights beside the model
/// are looked for; empty: nowhere.
Graph read_onnx(std::string_view bytes, const std::string& name, const std::string& directory = "");

/// Does the importer know the operator's shapes? Others are opaque.
bool knows_onnx_operator(std::string_view domain, std::string_view type);

}  // namespace parallel_opt
