"""An agent that runs for long while all around it fails: what it holds, what is lost."""
