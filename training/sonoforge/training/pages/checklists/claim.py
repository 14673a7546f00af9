"""CLAIM: artificial intelligence in medical imaging, by the item numbers of Mongan, Moy & Kahn (2020).

Mongan et al., Radiology: Artificial Intelligence 2, 2020, e200029; what the update adds (Tejani et al., the same, 6,
2024, e240300) follows without numbers, as it counts anew.  What an item asks for is put in our own words.
"""

from __future__ import annotations

from sonoforge.training.pages.checklists.item import Checklist, Item

_UPDATE = "Added in 2024"

CLAIM = Checklist(
    "CLAIM",
    "claim",
    "Mongan et al., Radiology: Artificial Intelligence 2 (2020) e200029, numbers of that edition; update: "
    "Tejani et al., 6 (2024) e240300",
    (
        Item("Title and abstract", "1", "Kind of AI in the title", ("model",), "the title"),
        Item("Title and abstract", "2", "Structured abstract", (), "the abstract"),
        Item("Introduction", "3", "Background, intended use", ("use",), "the medical background and clinical role"),
        Item("Introduction", "4", "Aims and hypotheses", ("goal",), "hypotheses beyond this"),
        Item("Study design", "5", "Prospective or retrospective", (), "which of both"),
        Item("Study design", "6", "Goal of the study", ("goal",)),
        Item("Data", "7", "Sources", ("data",), "where the images come from"),
        Item("Data", "8", "Who was eligible", ("excluded",), "criteria, place, dates"),
        Item("Data", "9", "Preparation", ("preprocessing", "quality_checks")),
        Item("Data", "10", "Subsets", ("subset",)),
        Item("Data", "11", "Definition of data elements", ("classes", "predictors"), "reference to common definitions"),
        Item("Data", "12", "De-identification", (), "how images were de-identified"),
        Item("Data", "13", "Missing data", ("excluded",), "images that never reached the folder"),
        Item("Reference standard", "14", "Its definition", ("classes",), "how each label was established"),
        Item("Reference standard", "15", "Why it was chosen", (), "the reason"),
        Item("Reference standard", "16", "Who labelled", (), "number and qualification of those who labelled"),
        Item("Reference standard", "17", "Tools for labelling", (), "the tools"),
        Item("Reference standard", "18", "Agreement", ("label_conflicts",), "agreement of those who labelled"),
        Item("Partitions", "19", "Sample size", ("sample_size",), "how it was intended"),
        Item("Partitions", "20", "How images were assigned", ("partition",)),
        Item("Partitions", "21", "Level at which parts are apart", ("level",)),
        Item("Model", "22", "Description", ("model", "output")),
        Item("Model", "23", "Software", ("software",)),
        Item("Model", "24", "First weights", ("initial_weights",)),
        Item("Training", "25", "Training", ("training", "tuning", "generators")),
        Item("Training", "26", "Selection of the final model", ("selection",)),
        Item("Training", "27", "Ensembles", ("ensemble",)),
        Item("Evaluation", "28", "Metrics", ("metrics",)),
        Item("Evaluation", "29", "Significance and uncertainty", ("statistics",)),
        Item("Evaluation", "30", "Robustness", ("robustness",)),
        Item("Evaluation", "31", "Explanations", ("explanations",)),
        Item("Evaluation", "32", "Test on external data", ("external",), "a test on images from elsewhere"),
        Item("Results", "33", "Flow of cases", ("counts", "excluded"), "participants behind the images"),
        Item(
            "Results", "34", "Characteristics by part", ("counts", "image_sizes"), "age, sex and other characteristics"
        ),
        Item("Results", "35", "Performance on all parts", ("performance", "training_accuracy")),
        Item("Results", "36", "Accuracy with its precision", ("sensitivities", "comparison")),
        Item("Results", "37", "Analysis of failures", ("failures",), "why these scans are answered wrongly"),
        Item("Discussion", "38", "Limitations", ("limits",), "limits of your study beyond these"),
        Item("Discussion", "39", "Implications for practice", ("use",), "the implications"),
        Item("Other", "40", "Registration", (), "registry and number, or that there is none"),
        Item(
            "Other",
            "41",
            "Protocol, software and data",
            ("settings", "code", "fingerprint"),
            "where the data can be had",
        ),
        Item("Other", "42", "Funding", (), "sources, and the role of funders"),
        Item(_UPDATE, "", "Imaging protocol", ("image_sizes",), "machines and how images were acquired"),
        Item(_UPDATE, "", "Labels of the test images", ("test_labels",), "whether they were made in another way"),
        Item(_UPDATE, "", "Evaluation on internal data", ("partition", "performance")),
    ),
)
