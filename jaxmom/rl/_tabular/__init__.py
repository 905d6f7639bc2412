"""The machinery of `jaxmom.rl`: transition tables, random bits, learners and the rollout loop."""
