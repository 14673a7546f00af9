"""Data sheet of the images, after Gebru et al., Datasheets for Datasets, Commun. ACM 64(12), 2021.

Questions are put in our own words.
"""

from __future__ import annotations

from sonoforge.training.pages.checklists.item import Checklist, Item

DATASHEET = Checklist(
    "Data sheet",
    "data-sheet",
    "Gebru et al., Communications of the ACM 64 (12), 2021, 86-92",
    (
        Item("Motivation", "", "Purpose", (), "for what the set was made"),
        Item("Motivation", "", "Makers and funding", (), "who made it, for whom, and who paid"),
        Item("Composition", "", "What an instance is", ("instances",), "what each image shows"),
        Item("Composition", "", "How many there are", ("counts",)),
        Item("Composition", "", "All, or a sample of what", (), "of which larger set, and how drawn"),
        Item("Composition", "", "What an instance holds", ("image_sizes",)),
        Item("Composition", "", "Labels", ("classes", "masks"), "who gave them, and how"),
        Item("Composition", "", "What is missing", ("excluded",), "why it is missing"),
        Item("Composition", "", "Relations between instances", ("relations",)),
        Item("Composition", "", "Recommended splits", ("partition",)),
        Item("Composition", "", "Errors, noise, repetitions", ("repetitions", "label_conflicts")),
        Item("Composition", "", "Does it stand alone", ("fingerprint",)),
        Item("Composition", "", "Confidential content", (), "whether pixels or names tell of a person"),
        Item("Composition", "", "Groups of people", ("fairness",), "their distribution, if known elsewhere"),
        Item("Composition", "", "Can people be identified", (), "whether, and how that was checked"),
        Item("Collection", "", "How images were acquired", (), "machines, operators, protocol"),
        Item("Collection", "", "Sampling, time frame, who collected", (), "how, when and by whom"),
        Item("Collection", "", "Ethical review and consent", (), "committee, consent, its withdrawal"),
        Item(
            "Preparation", "", "What was done to the images", ("preprocessing",), "what was done before they came here"
        ),
        Item("Preparation", "", "Are raw data kept", ("raw",), "originals of these files"),
        Item("Preparation", "", "Is the software available", ("code",)),
        Item("Uses", "", "Used before", ("this_use",), "other uses"),
        Item("Uses", "", "What may limit later uses", ("limits",), "known biases"),
        Item("Uses", "", "What it should not be used for", ("use",)),
        Item("Distribution", "", "To whom, how, when", (), "the way of distribution"),
        Item("Distribution", "", "Licence and restrictions", (), "licence, citation, restrictions"),
        Item("Maintenance", "", "Who maintains it, and how to reach them", (), "name and address"),
        Item("Maintenance", "", "Errata, updates, old versions", ("fingerprint",), "whether there will be updates"),
    ),
)
