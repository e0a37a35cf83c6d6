"""Training stages, one flat file a family of methods.

Each stage takes models, data, settings and a run folder, and can be killed at any moment: called
again with the same arguments it goes on from its last saved state to the same weights and
metrics. What stages share is called, not inherited: `run_folder` (what is on disk), `optimising`
(one optimiser step), `batches` (who is in which step), `memory` (what to do when it runs out).
"""
