"""Hugging Face models and what the loop needs of them.

`loading` opens folders and says what is wrong with them, `tokens` turns texts into padded rows,
`sampling` draws responses, `scoring` recomputes log-probabilities, `heads` has the value head,
`rewards` scores texts, `candidates` enumerates fixed answers, `checkpoints` writes folders.
"""
