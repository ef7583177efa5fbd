#pragma once

#include <vector>

namespace parallel_opt {

/// The value that a share of `values` lies below, linear between neighbours (percentile 0.5 of
/// {1, 2} is 1.5). Pre: not empty, 0 <= share <= 1.
double percentile(std::vector<double> values, double share);
double median(std::vector<double> values);
double mean(const std::vector<double>& values);

/// Rank of each value from 1; equal values share the mean of their ranks.
std::vector<double> rank_values(const std::vector<double>& values);

/// Spearman's rank correlation, ties averaged: Pearson's of the ranks. 0 where all of one side are
/// equal: that side then ranks nothing. Pre: equal sizes, at least 2.
double spearman(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace parallel_opt
