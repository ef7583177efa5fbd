#pragma once

#include <string>

#include "parallel_opt/cost/row_model.h"

namespace parallel_opt {

/// Why a row whose devices are processors cannot be expressed: replicas on the sockets of one
/// machine can, which is what plans on cores are. Empty: it can.
std::string wrong_on_cores(const RowCase& row);

/// Operator by operator, as `estimate` judges plans on cores: replicas of plain PyTorch, a process
/// and all cores per socket. Pre: it can be expressed.
RowAnswer predict_on_cores(const RowCase& row);

}  // namespace parallel_opt
