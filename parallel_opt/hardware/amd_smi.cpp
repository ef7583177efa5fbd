#include "parallel_opt/hardware/amd_smi.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace parallel_opt {
namespace {

// Our own declarations of the few functions in use, as in the public headers.
constexpr int kSuccess = 0;
constexpr std::uint64_t kAmdGpus = 2;  // AMDSMI_INIT_AMD_GPUS
constexpr int kVram = 0;
constexpr double kOfMicro = 1e-6;

/// An open library; closed with the last user.
class Library {
 public:
  explicit Library(void* handle) : handle_(handle) {}
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() { dlclose(handle_); }
  template <class Function>
  Function symbol(const char* name) const {
    return reinterpret_cast<Function>(dlsym(handle_, name));
  }
  /// Calls a function that may be missing; true when it is there and succeeds.
  template <class... Parameters, class... Arguments>
  bool call(const char* name, int (*)(Parameters...), Arguments... arguments) const {
    const auto function = symbol<int (*)(Parameters...)>(name);
    return function != nullptr && function(arguments...) == kSuccess;
  }

 private:
  void* handle_;
};

/// Domain above bit 32, bus, device and function below.
std::string pci_address(std::uint64_t id) {
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", (id >> 32) & 0xffff, (id >> 8) & 0xff,
                     (id >> 3) & 0x1f, id & 7);
}

template <class... Parameters>
using Fn = int (*)(Parameters...);

class NewInterface final : public AmdSmi {
 public:
  explicit NewInterface(std::unique_ptr<Library> library) : library_(std::move(library)) {
    using Handles = Fn<std::uint32_t*, void**>;
    std::uint32_t sockets = 0;
    if (!library_->call("amdsmi_get_socket_handles", Handles(), &sockets, nullptr)) return;
    std::vector<void*> socket(sockets);
    if (!library_->call("amdsmi_get_socket_handles", Handles(), &sockets, socket.data())) return;
    for (void* one : socket) {
      using Processors = Fn<void*, std::uint32_t*, void**>;
      const char* name = "amdsmi_get_processor_handles";
      std::uint32_t found = 0;
      if (!library_->call(name, Processors(), one, &found, nullptr)) continue;
      std::vector<void*> processors(found);
      if (!library_->call(name, Processors(), one, &found, processors.data())) continue;
      handles_.insert(handles_.end(), processors.begin(), processors.end());
    }
  }
  ~NewInterface() override { library_->call("amdsmi_shut_down", Fn<>()); }

  int count() const override { return static_cast<int>(handles_.size()); }

  std::string pci(int index) const override {
    std::uint64_t id = 0;
    const bool told =
        library_->call("amdsmi_get_gpu_bdf_id", Fn<void*, std::uint64_t*>(), handle(index), &id);
    return told ? pci_address(id) : "";
  }

  std::string uuid(int index) const override {
    std::array<char, 64> text{};
    unsigned length = text.size();
    const bool told = library_->call("amdsmi_get_gpu_device_uuid", Fn<void*, unsigned*, char*>(),
                                     handle(index), &length, text.data());
    return told ? std::string(text.data(), strnlen(text.data(), text.size())) : "";
  }

  std::optional<std::int64_t> memory_bytes(int index) const override {
    return memory("amdsmi_get_gpu_memory_total", index);
  }
  std::optional<std::int64_t> used_bytes(int index) const override {
    return memory("amdsmi_get_gpu_memory_usage", index);
  }

  std::optional<double> energy_j(int index) const override {
    std::uint64_t steps = 0, time = 0;
    float step_uj = 0;
    const bool told = library_->call("amdsmi_get_energy_count",
                                     Fn<void*, std::uint64_t*, float*, std::uint64_t*>(),
                                     handle(index), &steps, &step_uj, &time);
    if (!told || !(step_uj > 0)) return std::nullopt;
    return double(steps) * double(step_uj) * kOfMicro;
  }

  /// The power calls of this library fill structs whose layout changed: /sys tells it instead.
  std::optional<double> power_w(int) const override { return std::nullopt; }

  std::optional<bool> peer(int a, int b) const override {
    bool accessible = false;
    const bool told = library_->call("amdsmi_is_P2P_accessible", Fn<void*, void*, bool*>(),
                                     handle(a), handle(b), &accessible);
    return told ? std::optional(accessible) : std::nullopt;
  }

 private:
  void* handle(int index) const { return handles_[static_cast<std::size_t>(index)]; }

  std::optional<std::int64_t> memory(const char* name, int index) const {
    std::uint64_t bytes = 0;
    if (!library_->call(name, Fn<void*, int, std::uint64_t*>(), handle(index), kVram, &bytes)) {
      return std::nullopt;
    }
    return static_cast<std::int64_t>(bytes);
  }

  std::unique_ptr<Library> library_;
  std::vector<void*> handles_;
};

class OldInterface final : public AmdSmi {
 public:
  explicit OldInterface(std::unique_ptr<Library> library) : library_(std::move(library)) {
    if (!library_->call("rsmi_num_monitor_devices", Fn<std::uint32_t*>(), &count_)) count_ = 0;
  }
  ~OldInterface() override { library_->call("rsmi_shut_down", Fn<>()); }

  int count() const override { return static_cast<int>(count_); }

  std::string pci(int index) const override {
    std::uint64_t id = 0;
    const bool told = library_->call("rsmi_dev_pci_id_get", Fn<std::uint32_t, std::uint64_t*>(),
                                     number(index), &id);
    return told ? pci_address(id) : "";
  }

  std::string uuid(int index) const override {
    std::uint64_t id = 0;
    const bool told = library_->call("rsmi_dev_unique_id_get", Fn<std::uint32_t, std::uint64_t*>(),
                                     number(index), &id);
    return told ? fmt::format("GPU-{:x}", id) : "";
  }

  std::optional<std::int64_t> memory_bytes(int index) const override {
    return memory("rsmi_dev_memory_total_get", index);
  }
  std::optional<std::int64_t> used_bytes(int index) const override {
    return memory("rsmi_dev_memory_usage_get", index);
  }

  std::optional<double> energy_j(int index) const override {
    std::uint64_t steps = 0, time = 0;
    float step_uj = 0;
    const bool told = library_->call("rsmi_dev_energy_count_get",
                                     Fn<std::uint32_t, std::uint64_t*, float*, std::uint64_t*>(),
                                     number(index), &steps, &step_uj, &time);
    if (!told || !(step_uj > 0)) return std::nullopt;
    return double(steps) * double(step_uj) * kOfMicro;
  }

  std::optional<double> power_w(int index) const override {
    std::uint64_t microwatts = 0;
    const bool told =
        library_->call("rsmi_dev_power_ave_get", Fn<std::uint32_t, std::uint32_t, std::uint64_t*>(),
                       number(index), 0U, &microwatts);
    return told ? std::optional(double(microwatts) * kOfMicro) : std::nullopt;
  }

  std::optional<bool> peer(int a, int b) const override {
    bool accessible = false;
    const bool told =
        library_->call("rsmi_is_P2P_accessible", Fn<std::uint32_t, std::uint32_t, bool*>(),
                       number(a), number(b), &accessible);
    return told ? std::optional(accessible) : std::nullopt;
  }

 private:
  static std::uint32_t number(int index) { return static_cast<std::uint32_t>(index); }

  std::optional<std::int64_t> memory(const char* name, int index) const {
    std::uint64_t bytes = 0;
    if (!library_->call(name, Fn<std::uint32_t, int, std::uint64_t*>(), number(index), kVram,
                        &bytes)) {
      return std::nullopt;
    }
    return static_cast<std::int64_t>(bytes);
  }

  std::unique_ptr<Library> library_;
  std::uint32_t count_ = 0;
};

}  // namespace

std::unique_ptr<AmdSmi> AmdSmi::open(const std::vector<std::string>& libraries,
                                     std::vector<std::string>& notes) {
  for (const std::string& name : libraries) {
    void* handle = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (handle == nullptr) continue;
    auto library = std::make_unique<Library>(handle);
    const auto start = library->symbol<Fn<std::uint64_t>>("amdsmi_init");
    const auto old_start = library->symbol<Fn<std::uint64_t>>("rsmi_init");
    if (start == nullptr && old_start == nullptr) {
      notes.push_back("amd: " + name + " does not start: it has neither amdsmi_init nor rsmi_init");
      continue;
    }
    const int code = start != nullptr ? start(kAmdGpus) : old_start(0);
    if (code != kSuccess) {
      notes.push_back("amd: " + name + " does not start: error " + std::to_string(code));
      continue;
    }
    if (start != nullptr) return std::make_unique<NewInterface>(std::move(library));
    return std::make_unique<OldInterface>(std::move(library));
  }
  return nullptr;
}

std::vector<GpuRecord> AmdSmi::devices() const {
  std::vector<GpuRecord> found;
  for (int i = 0; i < count(); ++i) {
    GpuRecord device;
    device.index = i;
    device.pci = pci(i);
    device.uuid = uuid(i);
    device.memory_bytes = memory_bytes(i);
    if (const auto used = used_bytes(i); used && device.memory_bytes) {
      device.free_bytes = std::max<std::int64_t>(0, *device.memory_bytes - *used);
    }
    found.push_back(std::move(device));
  }
  return found;
}

const std::vector<std::string>& amd_library_names() {
  static const std::vector<std::string> kNames = {"libamd_smi.so",
                                                  "libamd_smi.so.26",
                                                  "libamd_smi.so.25",
                                                  "libamd_smi.so.24",
                                                  "librocm_smi64.so",
                                                  "librocm_smi64.so.7",
                                                  "librocm_smi64.so.6",
                                                  "librocm_smi64.so.5",
                                                  "/opt/rocm/lib/libamd_smi.so",
                                                  "/opt/rocm/lib/librocm_smi64.so"};
  return kNames;
}

}  // namespace parallel_opt
