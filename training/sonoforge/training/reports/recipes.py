"""Show the table of recipes, each number with its source."""

from collections.abc import Mapping

from rich import box
from rich.table import Table

from sonoforge.training.gan.recipes import Budget, Recipe
from sonoforge.training.reports.terminal import as_text

