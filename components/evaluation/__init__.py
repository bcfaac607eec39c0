"""Steps of the Evaluator: predict, measure, resample, decide, report."""
