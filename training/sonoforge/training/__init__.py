"""From images to evidence: data, splits, generators, classifiers, cross-validation, reports."""
