"""The pages of an expert reading: the sheet that is answered, and the report on the answers."""
