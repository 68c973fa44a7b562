"""Running the parts as processes of one machine: a tree that restarts what dies and leaves none."""
