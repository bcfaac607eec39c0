"""What people say of the answers: votes, agreed labels, and the spans that training reads."""
