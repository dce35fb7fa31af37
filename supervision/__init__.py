"""OTP-style supervision for Pykka."""
