// Shared.
use two;
