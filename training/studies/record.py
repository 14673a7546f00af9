"""Record a kept ``predictions.csv`` as it stands: ``python training/studies/record.py STUDY/answers/FILE...``.

For tables whose run is no longer at hand: nothing but the table's own digest is known.  A run's own record is better:
keep it beside the table under the table's name.
"""

import sys
from pathlib import Path

from sonoforge.training.crossval.evidence import read_record, record_path, write_record
from sonoforge.training.statistics.predictions import read_predictions

for table in map(Path, sys.argv[1:]):
    read_predictions(table)
    read_record(table)  # an edited table gets no new record
    if not record_path(table).is_file():
        write_record(table)
