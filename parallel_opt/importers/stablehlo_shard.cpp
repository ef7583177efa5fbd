#include <algorithm>

#include "parallel_opt/importers/stablehlo_import.h"

// What JAX's shard_map leaves: a body that each device runs on its part.
namespace parallel_opt::stablehlo {
namespace {

using mlir::Op;

/// Names in quotes, in order: {"x", "y"}.
std::vector<std::string_view> quoted(std::string_view text) {
  std::vector<std::string_view> names;
  for (std::size_t open = text.find('"'); open != std::string_view::npos;) {
    const std::size_t close = text.find('"', open + 1);
    if (close == std::string_view::npos) break;
    names.push_back(text.substr(open + 1, close - open - 1));
    open = text.find('"', close + 1);
  }
  return names;
}

/// How many devices an axis of the module's meshes has: sdy.mesh @mesh = <["x"=2, "y"=4]>.
std::int64_t axis_size(std::string_view text, std::string_view axis) {
  const std::string key = "\"" + std::string(axis) + "\"=";
  for (std::size_t mesh = text.find("sdy.mesh"); mesh != std::string_view::npos;
       mesh = text.find("sdy.mesh", mesh + 1)) {
    const std::string_view line = text.substr(mesh, text.find('\n', mesh) - mesh);
    const std::size_t at = line.find(key);
    if (at == std::string_view::npos) continue;
    const auto size = mlir::integers(line.substr(at + key.size(), 12));
    if (!size.empty() && size[0] > 0) return size[0];
  }
  return 1;
}

}  // namespace

/// Devices with parts of their own. Axes that no sharding names only repeat the same work.
double Importer::parts_of_computation(const Op& op) const {
  const std::size_t manual = op.text.find("manual_axes");
  const std::size_t shardings = op.text.find("in_shardings");
  if (manual == std::string_view::npos || shardings == std::string_view::npos) return 1;
  const std::string_view axes = op.text.substr(manual, op.text.find('}', manual) - manual);
  const std::string_view used =
      op.text.substr(std::min(shardings, manual), manual - std::min(shardings, manual));
  const std::vector<std::string_view> named = quoted(used);
  double parts = 1;
  for (const std::string_view axis : quoted(axes)) {
    if (std::ranges::find(named, axis) == named.end()) continue;
    parts *= static_cast<double>(axis_size(text_, axis));
  }
  return parts;
}

/// A loop over the devices: the body's sizes are those of one part.
Values Importer::per_device(const Op& op, const Values& in, Scope& scope) {
  if (op.regions.size() != 1) out.fail("a computation per device has no body");
  const mlir::RegionBody& body = op.regions[0];
  if (body.arguments.size() != in.size()) {
    out.fail("gives " + std::to_string(in.size()) + " values to a body that takes " +
             std::to_string(body.arguments.size()));
  }
  Region region;
  region.name = out.name + ".device";
  region.group = out.name;
  region.kind = RegionKind::loop;
  region.runs = parts_of_computation(op);
  region.observed = true;
  region.parent = out.region;
  const RegionId outside = out.region, inside = out.add_region(region);
  out.region = inside;
  Scope inner{&scope, {}};
  for (std::size_t i = 0; i < in.size(); ++i) {
    const mlir::Argument& argument = body.arguments[i];
    const TensorId part = out.join({tensor(in[i])}, convert(argument.type));
    define(inner, argument.name, {value_of(part)});
  }
  Values left;
  run_ops(body, inner, left);
  if (left.size() < op.result_count()) out.fail("the body leaves too few values");
  Values results;
  for (std::size_t i = 0; i < op.result_count(); ++i) {
    out.region = inside;
    const TensorId part = tensor(left[i]);
    out.region = outside;
    results.push_back(value_of(out.join({part}, result(op, i))));
  }
  out.note("computation '" + out.name + "' is that of one of " +
           std::to_string(static_cast<std::int64_t>(region.runs)) +
           " devices: counted for all of them");
  return results;
}

/// The older form of the same: between the two calls all sizes are those of one part.
Values Importer::resized(const Op& op, const Values& in) {
  if (in.size() != 1 || op.result_count() != 1) return in;
  const ResultType made = result(op, 0);
  if (agree(type(in[0]), made)) return in;
  out.note("what the text computes for one of several devices is counted for one");
  return {value_of(out.join({tensor(in[0])}, made))};
}

}  // namespace parallel_opt::stablehlo
