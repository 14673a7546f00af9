"""TRIPOD+AI: reporting of clinical prediction models (Collins et al., BMJ 385, 2024, e078378), 27 items with sub-items.

What an item asks for is put in our own words; the checklist itself is at the paper.
"""

from __future__ import annotations

from sonoforge.training.pages.checklists.item import Checklist, Item

TRIPOD_AI = Checklist(
    "TRIPOD+AI",
    "tripod-ai",
    "Collins et al., BMJ 385 (2024) e078378",
    (
        Item("Title", "1", "Development or evaluation; population; outcome", ("goal", "classes"), "the population"),
        Item("Abstract", "2", "Summary by the abstract checklist", (), "the abstract"),
        Item("Introduction", "3a", "Medical context, and why; earlier models", (), "the context and earlier models"),
        Item("Introduction", "3b", "Population, purpose and users", ("use",), "the care pathway and intended users"),
        Item("Introduction", "3c", "Known inequalities between groups of people", (), "what is known of inequalities"),
        Item("Introduction", "4", "Objectives", ("goal",)),
        Item("Methods", "5a", "Sources of the data", ("data",), "where the images come from and whom they represent"),
        Item("Methods", "5b", "Dates of collection", (), "first and last date"),
        Item("Methods", "6a", "Setting and centres", (), "number and place of centres"),
        Item("Methods", "6b", "Who was eligible", ("excluded",), "how participants were chosen"),
        Item("Methods", "6c", "Treatments", (), "treatments before imaging, or that they do not matter"),
        Item("Methods", "7", "Preparation and quality checks", ("preprocessing", "quality_checks")),
        Item(
            "Methods", "8a", "Outcome, how and when assessed", ("classes",), "how each label was established, and when"
        ),
        Item("Methods", "8b", "Who assessed the outcome", (), "qualification of those who labelled"),
        Item("Methods", "8c", "Blinding of the outcome", (), "what those who labelled knew"),
        Item("Methods", "9a", "Choice of predictors", ("predictors",)),
        Item("Methods", "9b", "Predictors, how and when measured", ("predictors",), "machines and protocol of imaging"),
        Item("Methods", "9c", "Who assessed predictors", ("no_reader",)),
        Item("Methods", "10", "Sample size", ("sample_size",), "why that is enough for the aim"),
        Item("Methods", "11", "Missing data", ("excluded",), "images that never reached the folder"),
        Item("Methods", "12a", "How the data were used and divided", ("partition",)),
        Item("Methods", "12b", "How predictors were handled", ("preprocessing",)),
        Item("Methods", "12c", "Model, steps, tuning, validation", ("model", "training", "tuning", "generators")),
        Item(
            "Methods",
            "12d",
            "Differences between clusters",
            ("clusters",),
            "centres and machines, if there are several",
        ),
        Item("Methods", "12e", "Measures of performance", ("metrics", "statistics")),
        Item("Methods", "12f", "Updating of the model", ("updating",)),
        Item("Methods", "12g", "How predictions were calculated", ("code", "specification")),
        Item("Methods", "13", "Class imbalance", ("imbalance", "calibration")),
        Item("Methods", "14", "Fairness", ("fairness",), "any approach to fairness"),
        Item("Methods", "15", "Output and thresholds", ("output",)),
        Item("Methods", "16", "Training against evaluation data", ("same_source",)),
        Item("Methods", "17", "Ethical approval", (), "committee, consent or waiver"),
        Item("Open science", "18a", "Funding", (), "sources, and the role of funders"),
        Item("Open science", "18b", "Conflicts of interest", (), "of all authors"),
        Item("Open science", "18c", "Protocol", ("settings",), "where a protocol is, if there was one beforehand"),
        Item("Open science", "18d", "Registration", (), "registry and number, or that there is none"),
        Item("Open science", "18e", "Data sharing", ("fingerprint",), "whether and where the data can be had"),
        Item("Open science", "18f", "Code sharing", ("code",), "where your own changes are, if any"),
        Item("Patient involvement", "19", "Patients and public", (), "their part, or that there was none"),
        Item("Results", "20a", "Flow of participants", ("counts", "excluded"), "participants behind the images"),
        Item(
            "Results", "20b", "Characteristics", ("counts", "image_sizes"), "age, sex, dates and other characteristics"
        ),
        Item("Results", "20c", "Comparison with development data", ("same_source",)),
        Item("Results", "21", "Numbers in each analysis", ("counts", "partition")),
        Item("Results", "22", "The full model", ("specification",), "restrictions of access or use"),
        Item(
            "Results",
            "23a",
            "Performance with intervals",
            ("performance", "comparison", "utility"),
            "performance by subgroup",
        ),
        Item("Results", "23b", "Performance by cluster", ("clusters",), "by centre, if there are several"),
        Item("Results", "24", "Results of updating", ("updating",)),
        Item("Discussion", "25", "Interpretation", ("comparison",), "the interpretation, fairness included"),
        Item("Discussion", "26", "Limitations", ("limits",), "limits of your study beyond these"),
        Item("Discussion", "27a", "Poor or missing input", ("poor_input",)),
        Item("Discussion", "27b", "What users do, and must know", ("users",), "the expertise that users need"),
        Item("Discussion", "27c", "Next steps", (), "further research"),
    ),
)
