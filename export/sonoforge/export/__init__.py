"""From a run folder to a bundle that the runtime, the page and the phone read."""
