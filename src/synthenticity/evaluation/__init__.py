"""How good a scorer is: against honest baselines, on text that nothing was trained on."""
