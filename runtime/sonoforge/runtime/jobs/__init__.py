"""The work of the verbs: one module a job, which takes the settings of its verb."""
