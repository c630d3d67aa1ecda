"""Wake-ups: they carry no state and may be lost; whoever wakes up looks at the rows."""
