"""The search for a recipe's best settings: what is searched, the studies, their trials and what they show."""
