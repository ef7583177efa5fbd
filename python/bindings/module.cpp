#include <nanobind/nanobind.h>

namespace parallel_opt::bindings {

void bind_analysis(nanobind::module_& m);
void bind_base(nanobind::module_& m);
void bind_cluster(nanobind::module_& m);
void bind_graph(nanobind::module_& m);
void bind_hardware(nanobind::module_& m);
void bind_layout(nanobind::module_& m);
void bind_plan(nanobind::module_& m);
void bind_report(nanobind::module_& m);
void bind_search(nanobind::module_& m);

}  // namespace parallel_opt::bindings

// Nested values are bound before those that hold them.
NB_MODULE(_core, m) {
  namespace bindings = parallel_opt::bindings;
  m.doc() = "The parallel_opt core. Import from parallel_opt, not from here.";
  // Values that module globals still hold when the interpreter ends are no leaks worth a page of
  // text.
  nanobind::set_leak_warnings(false);
  bindings::bind_base(m);
  bindings::bind_cluster(m);
  bindings::bind_graph(m);
  bindings::bind_analysis(m);
  bindings::bind_hardware(m);
  bindings::bind_plan(m);
  bindings::bind_search(m);
  bindings::bind_layout(m);
  bindings::bind_report(m);
}
