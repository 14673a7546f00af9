"""Write bundles and their model cards, after comparing each model file with the network."""
