#pragma once

#include <optional>
#include <string>

namespace parallel_opt {

/// A machine that clouds let ("p4d.24xlarge", "Standard_ND96amsr_A100_v4"), and what stands in it.
struct CloudMachine {
  std::string name;      ///< as the text has it
  std::string device;    ///< of the database, memory included
  std::string adapters;  ///< of its network, in the words of a table; empty: not known
};

/// The first that a text names; empty: it names none.
std::optional<CloudMachine> cloud_machine_in(const std::string& text);

/// The text without that name, whose digits are no sizes ("a2-highgpu-8g").
std::string without_machine(const std::string& text);

}  // namespace parallel_opt
