"""Free energies from ladders of temperatures, comparing solutions, information criteria."""
