"""Public test sets: cases, prompts, and scores in the words of each paper."""
