#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <exception>
#include <string>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/uncertain.h"
#include "parallel_opt/base/version.h"
#include "python/bindings/bind_fields.h"

namespace parallel_opt::bindings {
namespace {

/// Raises parallel_opt.errors.<name>(faults): a Python class, so that it can derive from ValueError
/// and carry
/// `.where`, `.what`, `.hint` and `.faults`.
void raise(const char* name, const std::vector<Fault>& faults) {
  nb::list list;
  for (const Fault& fault : faults) {
    list.append(nb::make_tuple(fault.where, fault.what, fault.hint));
  }
  const nb::object type = nb::module_::import_("parallel_opt.errors").attr(name);
  const nb::object error = type.attr("from_faults")(list);
  PyErr_SetObject(type.ptr(), error.ptr());
}

}  // namespace

void bind_base(nb::module_& m) {
  m.attr("__version__") = std::string(kVersion).c_str();
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const InputError& e) {
      raise("InputError", e.faults());
    } catch (const MissingPart& e) {
      raise("MissingPart", {e.fault()});
    } catch (const SystemError& e) {
      raise("MachineError", {e.fault()});
    } catch (const InternalError& e) {
      raise("InternalError", {{"parallel_opt", e.what(), "please report this"}});
    }
  });
  bind_struct<Uncertain>(m, "Uncertain", "A number with its 80 % interval and quality.");
}

}  // namespace parallel_opt::bindings
