"""Public data sets that the project is used with: what each holds and how its owner hands it out.

Nothing is ever downloaded silently: each set has terms that its user, not a program, accepts.
To add a set, add a row.
"""

from __future__ import annotations

from typing import NamedTuple

from sonoforge.training.data.collections import acdc, cbis_ddsm, herlev, idrid, mini_mias, sliver07, zenodo_7890874
from sonoforge.training.data.collections.importing import Collection


class KnownSet(NamedTuple):
    """One public data set."""

    name: str  # short name in common use
    content: str  # modality, task and size
    obtain: str  # where it is handed out and what to do there
    licence: str  # terms as stated by the owner; "not stated" where none could be found
    citation: str  # what to cite
    reader: str  # how `sonoforge` reads it: `as published`, or what to rearrange first
    collection: Collection | None = None  # what `data import` needs; None for a set that is not imported


KNOWN_SETS = (
    KnownSet(
        "BUSI",
        "breast ultrasound, 780 images: normal 133, benign 437, malignant 210, lesion masks",
        "https://scholar.cu.edu.eg/?q=afahmy/pages/dataset (direct download); unpack Dataset_BUSI_with_GT",
        "free for research with citation; often listed as CC0",
        "Al-Dhabyani, Gomaa, Khaled, Fahmy: Dataset of breast ultrasound images. Data in Brief 28 (2020) 104863",
        "as published",
    ),
    KnownSet(
        "BUS-BRA",
        "breast ultrasound, 1875 images of 1064 patients: benign 1268, malignant 607, lesion masks, four scanners",
        "https://zenodo.org/records/8231412 (direct download)",
        "any use, with a notice and the citation; see the licence file in the archive",
        "Gómez-Flores, Gregorio-Calas, Pereira: BUS-BRA: a breast ultrasound dataset for assessing computer-aided "
        "diagnosis systems. Medical Physics 51(4) (2024) 3110-3123",
        "one folder for each class, images and NAME_mask.png; groups.csv: the patient",
    ),
    KnownSet(
        "BrEaST",
        "breast ultrasound, 256 patients: normal 4, benign 154, malignant 98, lesion masks, descriptors, several "
        "scanners",
        "https://www.cancerimagingarchive.net/collection/breast-lesions-usg/ (direct download)",
        "CC BY 4.0",
        "Pawłowska et al.: Curated benchmark dataset for ultrasound based breast lesion analysis. Scientific Data 11 "
        "(2024) 148",
        "one folder for each class, images and NAME_mask.png; groups.csv: the patient",
    ),
    KnownSet(
        "ACDC",
        "cine cardiac MRI, 100 training patients, masks of both ventricles and the myocardium",
        "https://www.creatis.insa-lyon.fr/Challenge/acdc/databases.html (registration)",
        "CC BY-NC-SA 4.0",
        "Bernard et al.: Deep learning techniques for automatic MRI cardiac multi-structures segmentation and "
        "diagnosis. IEEE TMI 37(11) (2018) 2514-2525",
        "sonoforge data import acdc FOLDER OUT: slices of both phases with a mask for each structure; groups: the "
        "patient; needs pip install 'sonoforge[segment]'",
        acdc.COLLECTION,
    ),
    KnownSet(
        "IDRiD",
        "colour fundus photographs: 81 with lesion and optic disc masks, 516 graded for retinopathy",
        "https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid (free account)",
        "CC BY 4.0",
        "Porwal et al.: Indian Diabetic Retinopathy Image Dataset (IDRiD). Data 3(3) (2018) 25",
        "sonoforge data import idrid FOLDER OUT: part A with masks of the optic disc; graded images: sort them into "
        "one folder for each grade",
        idrid.COLLECTION,
    ),
    KnownSet(
        "mini-MIAS",
        "screen-film mammograms, 322 films of 161 patients: normal, benign, malignant",
        "http://peipa.essex.ac.uk/info/mias.html (direct download)",
        "research only, no redistribution for money; see the licence file in the archive",
        "Suckling et al.: The Mammographic Image Analysis Society digital mammogram database. "
        "Excerpta Medica ICS 1069 (1994) 375-378",
        "sonoforge data import mini-mias FOLDER OUT (--mode roi for the abnormalities); FOLDER holds Info.txt and the "
        "films as .pgm or .png; groups: films 2k-1 and 2k are one patient",
        mini_mias.COLLECTION,
    ),
    KnownSet(
        "Herlev",
        "single cells of Pap smears, 917 images in 7 classes",
        "http://mde-lab.aegean.gr/index.php/downloads (direct download)",
        "free for research with citation; no licence text",
        "Jantzen, Norup, Dounias, Bjerregaard: Pap-smear benchmark data for pattern classification. NiSIS (2005) 1-9",
        "sonoforge data import herlev FOLDER OUT: 4 classes, or --classes 7; padding cropped away; groups: the "
        "first number of a cell's name, which slide images that overlap share",
        herlev.COLLECTION,
    ),
    KnownSet(
        "CBIS-DDSM",
        "digitised mammograms, 1566 participants, 10239 DICOM images, regions with proven pathology",
        "https://www.cancerimagingarchive.net/collection/cbis-ddsm/ (NBIA Data Retriever, 164 GB, or only the films or "
        "only some cases; any directory naming); put the page's four tables, mass_case_description_train_set.csv and "
        "so on, into the same folder",
        "CC BY 3.0",
        "Lee et al.: A curated mammography data set for use in computer-aided detection and diagnosis research. "
        "Scientific Data 4 (2017) 170177; doi:10.7937/K9/TCIA.2016.7O02S9CY",
        "sonoforge data import cbis-ddsm FOLDER OUT (--mode roi for the abnormalities, which needs films and masks); "
        "groups: the patient id; needs pip install 'sonoforge[dicom]'",
        cbis_ddsm.COLLECTION,
    ),
    KnownSet(
        "SLiver07",
        "abdominal CT, 20 training volumes with liver masks",
        "https://sliver07.grand-challenge.org/ (registration of a team)",
        "liver segmentation research only; no commercial use, no redistribution",
        "Heimann et al.: Comparison and evaluation of methods for liver segmentation from CT datasets. "
        "IEEE TMI 28(8) (2009) 1251-1265",
        "sonoforge data import sliver07 FOLDER OUT: slices with masks of the liver; groups: the volume; --window "
        "LOW,HIGH in Hounsfield units",
        sliver07.COLLECTION,
    ),
    KnownSet(
        "Zenodo 7890874",
        "breast cytology, four classes of about 100 images",
        "https://zenodo.org/records/7890874 (direct download)",
        "see the record",
        "doi:10.5281/zenodo.7890874",
        "sonoforge data import zenodo-7890874 FOLDER OUT: folders of classes; --modality histology or "
        "immunohistochemistry for the others of the collection",
        zenodo_7890874.COLLECTION,
    ),
)

COLLECTIONS = {known.collection.name: known.collection for known in KNOWN_SETS if known.collection}
"""The sets that ``data import`` reads."""
