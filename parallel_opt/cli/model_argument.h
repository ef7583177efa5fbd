#pragma once

#include <map>
#include <string>

#include "parallel_opt/cli/command.h"
#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// Flags that bind symbolic sizes: --batch (where a command has no --global-batch) and --seq.
Flag batch_flag();
Flag seq_flag();

/// --bind: any symbolic size by its name.
Flag bind_flag();
/// "s16=64,s27=2" as a map. Throws UsageError.
std::map<std::string, std::int64_t> bound_sizes(const Args& args);

/// --operators: rows of the operator table that a user adds (graph/operator_file.h).
Flag operators_flag();
/// The graph with the rows of the file that the flag names, if any.
Graph with_operator_flag(Graph graph, const Args& args);

/// The graph that MODEL names; `seq` is what it will be bound to, which an inline specification may
/// leave to the flag. "file.py:factory" is captured by Python first; where nothing has that path,
/// the name of a known model ("Llama 3 8B") stands for its shape, which is logged. Throws what the
/// importer throws, and MissingPart when Python or PyTorch is needed and not there.
Graph load_model_argument(const std::string& spec, const Console& console,
                          std::optional<std::int64_t> seq);

/// The graph with the batch and the sequence length that the flags ask for, and with the sizes of
/// `named`. An encoder-decoder's target sequence follows `seq` unless it is named. Throws
/// InputError when a size is fixed in the file and is another one, or no symbol has the name, and
/// for tensors whose bytes together are beyond 64 bits.
Graph bind_sizes(Graph graph, std::optional<std::int64_t> batch, std::optional<std::int64_t> seq,
                 const std::map<std::string, std::int64_t>& named = {});

/// Throws InputError where what its operators keep for the backward is beyond 64 bits of bytes.
void check_kept(const Graph& graph);

}  // namespace parallel_opt
