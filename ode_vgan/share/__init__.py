"""Trained generators as folders that may be given away: weights as numbers, config, card, samples."""
