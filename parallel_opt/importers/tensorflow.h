#pragma once

#include <string>
#include <string_view>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// Reads saved_model.pb: one signature's graph with its functions inlined. `index` is the content
/// of variables/variables.index, empty when there is none. Weights are never read. `signature`
/// empty: "serving_default", or the only one.
///
/// Unknown sizes become symbols: the first axis of an input is `batch`, the second of an input of
/// up to three axes `seq`, others `size1`, `size2`, ... Control flow becomes regions. Operators
/// without a counterpart stay "tensorflow.NAME", opaque. Every variable is a parameter, moving
/// statistics too (Keras counts them so); those that do not train have no gradient.
///
/// Throws InputError with the place: "saved_model.pb:node 'model/dense/MatMul'".
Graph read_saved_model(std::string_view bytes, std::string_view index, const std::string& signature,
                       const std::string& name);

/// Reads a GraphDef: what nothing consumes is a result. Without variables (a frozen graph),
/// constants of floating type with more than one element are the parameters.
Graph read_graph_def(std::string_view bytes, const std::string& name);

/// A SavedModel's directory or a .pb file, either with ":SIGNATURE" behind it. Throws SystemError
/// when it cannot be opened.
Graph load_tensorflow(const std::string& spec);

/// Does `spec` name a SavedModel's directory (perhaps with a signature)?
bool is_saved_model(const std::string& spec);

}  // namespace parallel_opt
