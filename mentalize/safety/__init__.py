"""What must hold however small the model is: the risk lexicon, referrals, vetted replies and code gates."""
