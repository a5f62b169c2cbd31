"""Scenes on the real core: a stage with a clock by hand, a crew with the SDK's session core, and transcripts."""
