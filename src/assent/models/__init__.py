"""Hugging Face models and what the loop needs of them.

`loading` opens folders and says what is wrong with them, `chat` and `tokens` turn prompts and
responses into rows, `sampling` draws responses, `scoring` recomputes log-probabilities, `heads` and
`value_model` predict the reward to come, `lora` puts adapters in and merges them, `reading` is how
a reward model reads, `rewards` scores texts, `reward_http` and `reward_sources` have rewards from
elsewhere, `candidates` enumerates fixed answers, `checkpoints` writes folders.
"""
