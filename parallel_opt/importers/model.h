#pragma once

#include <string>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// What a MODEL argument may be, in words for help texts and errors.
extern const char* const kModelFormats;

/// The graph of a MODEL argument, as every command takes it: see kModelFormats. A directory is a
/// TensorFlow SavedModel or holds a config.json; a file of any name is a .pt2 when it is a zip, and
/// StableHLO when it is a .txt that begins with "module". Anything else is an InputError that says
/// what it looks like, what is accepted, and the way there; "file.py:factory" must be captured by
/// Python first. Throws SystemError when the file is not there.
Graph load_model(const std::string& spec);

/// Does the argument name a factory in a Python file ("train.py:build_model")? Then a caller may
/// run `python -m parallel_opt.capture SPEC -o FILE` and load FILE.
bool is_python_factory(const std::string& spec);

}  // namespace parallel_opt
