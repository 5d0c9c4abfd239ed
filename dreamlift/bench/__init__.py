"""`dreamlift bench`: time, arithmetic and memory of this suite and of its peers, in turn in one run."""
