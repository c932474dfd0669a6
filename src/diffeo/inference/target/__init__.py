"""What is to be fitted: a log density over named parameters, as a function of one vector."""
