#include <nanobind/nanobind.h>

#include <string>

#include "parallel_opt/base/version.h"

namespace parallel_opt::bindings {

void bind_base(nanobind::module_& m) { m.attr("version") = std::string(kVersion).c_str(); }

}  // namespace parallel_opt::bindings
