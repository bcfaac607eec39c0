"""What the Evaluator does, step by step: predict, measure, resample, decide, report."""
