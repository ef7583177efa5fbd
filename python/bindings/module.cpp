#include <nanobind/nanobind.h>

namespace parallel_opt::bindings {

void bind_base(nanobind::module_& m);

}  // namespace parallel_opt::bindings

NB_MODULE(_core, m) {
  namespace bindings = parallel_opt::bindings;
  m.doc() = "The parallel_opt core. Import from parallel_opt, not from here.";
  bindings::bind_base(m);
}
