"""Writes the small random VGG and the losses and gradients that test/golden/perceptual.safetensors holds (float64 inside)."""

import sys

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(5); torch.set_default_dtype(torch.float64)
cfg=[4,4,'M',5,6,'M',6,7,6,5,'M',7,6,6,8,'M',5,8,8,8,'M']
layers=[];c=3
for v in cfg:
    if v=='M': layers.append(nn.MaxPool2d(2,2))
    else:
        layers+= [nn.Conv2d(c,v,3,padding=1), nn.ReLU(inplace=False)]; c=v
f=nn.Sequential(*layers)
for m in f:
    if isinstance(m,nn.Conv2d):
        nn.init.kaiming_normal_(m.weight); nn.init.uniform_(m.bias,-.1,.2)
        m.weight.data=m.weight.data.float().double(); m.bias.data=m.bias.data.float().double()
B,H,W=2,24,40
pred=torch.rand(B,3,H,W)**3; gt=(pred+0.2*torch.rand(B,3,H,W)**4*torch.sign(torch.rand(B,3,H,W)-.5)).clamp(0,1)
pred=pred.float().double(); gt=gt.float().double()
w=(0.3+2*torch.rand(B,1,H,W)).float().double()
T=lambda h: torch.log1p(5000*h)/np.log1p(5000)
mean=torch.tensor([.485,.456,.406]).view(1,3,1,1); std=torch.tensor([.229,.224,.225]).view(1,3,1,1)
take=[1,6,11,20,29]
def feats(x):
    x=(T(x)-mean)/std; out=[]
    for i,m in enumerate(f):
        x=m(x)
        if i in take: out.append(x)
        if i==29: break
    return out
def loss(p,w):
    t=0
    for a,b in zip(feats(p),feats(gt)):
        m=F.interpolate(w,size=a.shape[-2:],mode='bilinear',align_corners=True)
        t=t+((a-b).abs()*m).mean()
    return t
p=pred.clone().requires_grad_(); l=loss(p,w); l.backward()
l1=loss(pred,torch.ones_like(w))
# structure
def structure(p,w):
    d=T(p)-T(gt); t=0
    for s in range(3):
        if s: d=F.avg_pool2d(d,2); w=F.avg_pool2d(w,2)
        t=t+((d[...,1:]-d[...,:-1]).abs()*(w[...,1:]+w[...,:-1])/2).mean()+((d[...,1:,:]-d[...,:-1,:]).abs()*(w[...,1:,:]+w[...,:-1,:])/2).mean()
    return t/3
q=pred.clone().requires_grad_(); s=structure(q,w); s.backward()
out={'features.%d.%s'%(i,k):getattr(m,k).data for i,m in enumerate(f) if isinstance(m,nn.Conv2d) and i<=28 for k in('weight','bias')}
cl=lambda t:t.permute(0,2,3,1).contiguous()
out|={'prediction':cl(pred),'truth':cl(gt),'weights':cl(w),'vgg_gradient':cl(p.grad),'structure_gradient':cl(q.grad),
 'losses':torch.tensor([l.item(),l1.item(),s.item()])}
save_file({k:v.float().contiguous() for k,v in out.items()},sys.argv[1])
