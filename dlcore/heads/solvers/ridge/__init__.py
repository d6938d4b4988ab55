"""Ridge heads by one factorisation, which every strength and target shares."""
