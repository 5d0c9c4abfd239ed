"""Evaluation of samples and objects: the judge, prompt sets, metrics and reports."""
