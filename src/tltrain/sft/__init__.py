"""Supervised fine-tuning with blocked calls (MAE) and weighted key tokens (PKT)."""
