from .igp_gcn_head import IGPGCNHead
from .official_simcc_head import OfficialSimCCHead
from .simcc_marginal_init import SimCCMarginalInit

__all__ = ['IGPGCNHead', 'OfficialSimCCHead', 'SimCCMarginalInit']
